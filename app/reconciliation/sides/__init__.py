"""The two sides of an entity: read some of its records, write some of them conditionally."""
