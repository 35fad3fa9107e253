"""A sweep: trials that are runs in the lanes' packs, a search that proposes them, a scheduler that ends the poor ones early."""
