"""Training on TPU pods: configs whose step is compiled without one; README.md has the table."""
