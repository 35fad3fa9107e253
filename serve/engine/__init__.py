"""Continuous batching: many users' drawings and answers, of any concepts and at any step, through one model.

Read `engine` first; it knows no Ray, no HTTP and no particular model.
"""
