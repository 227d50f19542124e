"""What is predicted: tasks, and one class for each kind of task."""
