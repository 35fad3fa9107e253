"""The paper's tables as data, the runs and examinations they need, and what came out."""
