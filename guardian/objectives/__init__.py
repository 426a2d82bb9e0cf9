"""What is aimed at and what came of it: hourly aggregates, objectives, reports and baselines."""
