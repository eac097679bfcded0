"""Small simulated worlds: clips with true captions and ground truth, one file for each world."""
