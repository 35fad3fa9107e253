"""Ways to learn a concept: which data, which rows, which stages. The loop itself is in `training`."""
