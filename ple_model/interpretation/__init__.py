"""What a trained network does: importance of inputs, concepts, parts that learn, parameters."""
