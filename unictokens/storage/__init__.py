"""Where what lasts is kept: a local folder, or a bucket behind a URL. Everything appears whole or not at all."""
