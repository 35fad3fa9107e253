"""Who a concept is and what was learned about it; knows no model and no training."""
