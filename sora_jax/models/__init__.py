"""Networks: the video autoencoder, the diffusion transformer, the text encoder."""
