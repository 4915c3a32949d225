"""The leaderboard: a folder of static pages, rendered from the registry and the records."""
