"""What keeps calls going when services do not."""
