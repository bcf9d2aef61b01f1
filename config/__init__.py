"""What the operator says: the model of the configuration, and its only reader."""
