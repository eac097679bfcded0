"""The video codec: a trained autoencoder that encodes and decodes clips, streams and files."""
