"""Reviews: one of each user for each tour, seen by all when published, judged by guides."""
