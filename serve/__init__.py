"""The endpoint for every user's concepts: `protocol` and `translate` between HTTP and work, `users` who may ask, `api` the doors.

`client` is all that the doors know of whoever computes.
"""
