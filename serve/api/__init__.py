"""The doors: FastAPI over a `Client` and `Users`; one file per noun of the address."""
