"""Stand-in for Pulumi's docker plugin 5.2.0: `docker:index/image:Image`, built by a Docker engine or, without one, packed."""
