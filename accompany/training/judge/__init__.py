"""Training of the classifiers that `accompany evaluate` judges prompts by."""
