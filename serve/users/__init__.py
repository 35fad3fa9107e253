"""Who may ask for what: accounts, keys, concepts in namespaces, grants, quotas, and a log of what was done."""
