"""The parts of a training run: optimiser, adapters, checkpoints, processes, augmentation, perturbation."""
