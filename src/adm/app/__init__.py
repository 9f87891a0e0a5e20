"""The application: command line, runs with their pages, scores, studies."""
