"""From simulators and raw video to packed batches of training clips."""
