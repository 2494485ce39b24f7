"""What one container gets: checked, counted and carried out."""
