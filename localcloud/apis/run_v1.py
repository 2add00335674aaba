"""Cloud Run Admin API v1 (Knative's form), as far as `gcloud run jobs` uses it: a view of what v2 stores."""

from localcloud.discovery import Discovery
from localcloud.shell import Api

API = Api("run", Discovery("run", "v1"))
