"""Laws and palettes of the simulated worlds: what simulators obey and what scores test.

One file a world. `data_pipelines.worlds` simulates by these constants and `evals.worlds` measures
against them, so that neither knows the other.
"""
