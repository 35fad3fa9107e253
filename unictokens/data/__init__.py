"""A dataset on disk, its typed records, and the drawn world that ships with the package."""
