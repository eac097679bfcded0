"""Parts of `experiments.train_shipped`: worlds and model are trained in one call on one GPU."""
