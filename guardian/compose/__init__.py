"""Everything that reads Compose files or calls Compose. `guardian.compose.project.read_project` is the way in."""
