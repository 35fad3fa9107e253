"""What a sweep may change, as data: settings by dotted path, the values they may take, and the checks that a sample must pass."""
