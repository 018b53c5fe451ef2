"""The fault matrix (`python -m tests.chaos`) and the soak (`python -m tests.chaos.soak`)."""
