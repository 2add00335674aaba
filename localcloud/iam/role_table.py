"""The rows of roles.py: role -> (page, permissions)."""

BASIC: dict[str, tuple[str, ...]] = {
    "read_verbs": (
        "get",
        "downloadArtifacts",
        "list",
        "getIamPolicy",
        "getData",
        "export",
        "search",
        "use",
        "getAncestry",
    ),
    "not_for_viewers": (
        "storage.objects.",
        "secretmanager.versions.access",
        "bigquery.tables.getData",
        "logging.privateLogEntries.",
    ),
    "owners_only": (".setIamPolicy",),
    "not_for_editors": (
        "resourcemanager.projects.delete",
        "secretmanager.versions.access",
        "run.jobs.setIamPolicy",
        "logging.privateLogEntries.list",
        "iam.serviceAccounts.undelete",
    ),
}

RUN_GET = (
    "resourcemanager.projects.{get,list} run.configurations.{get,list} run.executions.{get,list} run.jobs.{get,list} "
    "run.locations.list run.operations.{get,list} run.revisions.{get,list} run.routes.{get,list} run.services.{get,list} "
    "run.tasks.{get,list}"
)
RUN_POLICY = "run.jobs.getIamPolicy run.services.getIamPolicy"
RUN_DEVELOP = (
    f"{RUN_GET} {RUN_POLICY} run.executions.{{cancel,delete}} run.jobs.{{create,delete,run,runWithOverrides,update}} "
    "run.operations.delete run.revisions.delete run.routes.invoke run.services.{create,delete,update}"
)
STORAGE_UPLOADS = "storage.multipartUploads.{abort,create,list,listParts}"
STORAGE_FOLDERS = "storage.folders.{create,delete,get,list,rename} storage.managedFolders.{create,delete,get,list}"
STORAGE_READ = (
    "resourcemanager.projects.{get,list} storage.folders.{get,list} storage.managedFolders.{get,list} "
    "storage.objects.{get,list}"
)
BQ_READ = (
    "bigquery.datasets.{get,getIamPolicy} bigquery.models.{export,getData,getMetadata,list} "
    "bigquery.routines.{get,list} bigquery.tables.{createSnapshot,export,get,getData,getIamPolicy,list,replicateData} "
    "resourcemanager.projects.{get,list}"
)
BQ_EDIT = (
    f"{BQ_READ} bigquery.datasets.{{create,updateTag}} bigquery.models.{{create,delete,updateData,updateMetadata}} "
    "bigquery.routines.{create,delete,update} "
    "bigquery.tables.{create,createIndex,delete,deleteIndex,restoreSnapshot,update,updateData,updateTag}"
)
BQ_JOB = "bigquery.jobs.create bigquery.config.get resourcemanager.projects.{get,list}"
BQ_SESSION = "bigquery.readsessions.{create,getData,update} resourcemanager.projects.{get,list}"
AR_READ = (
    "artifactregistry.dockerimages.{get,list} artifactregistry.files.{download,get,list} "
    "artifactregistry.locations.{get,list} artifactregistry.packages.{get,list} "
    "artifactregistry.repositories.{downloadArtifacts,get,list,readViaVirtualRepository} artifactregistry.tags.{get,list} "
    "artifactregistry.versions.{get,list} artifactregistry.projectsettings.get"
)
AR_WRITE = (
    f"{AR_READ} artifactregistry.repositories.uploadArtifacts artifactregistry.tags.{{create,update}} "
    "artifactregistry.files.{update,upload} artifactregistry.packages.update artifactregistry.versions.update"
)
AR_REPO_ADMIN = (
    f"{AR_WRITE} artifactregistry.files.delete artifactregistry.packages.delete artifactregistry.tags.delete "
    "artifactregistry.versions.delete artifactregistry.repositories.deleteArtifacts"
)
AR_ADMIN = (
    f"{AR_REPO_ADMIN} artifactregistry.repositories.{{create,delete,getIamPolicy,setIamPolicy,update}} "
    "artifactregistry.projectsettings.update"
)
LOG_VIEW = (
    "logging.buckets.{get,list} logging.exclusions.{get,list} logging.links.{get,list} logging.locations.{get,list} "
    "logging.logEntries.list logging.logMetrics.{get,list} logging.logServiceIndexes.list logging.logServices.list "
    "logging.logs.list logging.operations.{get,list} logging.queries.getShared logging.sinks.{get,list} logging.usage.get "
    "logging.views.{get,list} resourcemanager.projects.get"
)
LOG_CONFIGURE = (
    f"{LOG_VIEW} logging.buckets.{{create,delete,undelete,update}} logging.exclusions.{{create,delete,update}} "
    "logging.logMetrics.{create,delete,update} logging.sinks.{create,delete,update} logging.views.{create,delete,update}"
)
ACCOUNT_READ = "iam.serviceAccounts.{get,list} resourcemanager.projects.{get,list}"
ACCOUNT_ADMIN = (
    f"{ACCOUNT_READ} iam.serviceAccountKeys.{{get,list}} "
    "iam.serviceAccounts.{create,delete,disable,enable,getIamPolicy,setIamPolicy,undelete,update}"
)
BATCH_READ = "batch.jobs.{get,list} batch.locations.{get,list} batch.operations.{get,list} batch.tasks.{get,list}"
BATCH_EDIT = f"{BATCH_READ} batch.jobs.{{cancel,create,delete}} resourcemanager.projects.{{get,list}}"
WORKFLOW_READ = (
    "resourcemanager.projects.{get,list} workflows.executions.{get,list} workflows.locations.{get,list} "
    "workflows.operations.{get,list} workflows.stepEntries.{get,list} workflows.callbacks.list "
    "workflows.workflows.{get,getIamPolicy,list,listRevision}"
)
WORKFLOW_EDIT = (
    f"{WORKFLOW_READ} workflows.callbacks.send workflows.executions.{{cancel,create}} workflows.operations.cancel "
    "workflows.workflows.{create,delete,update}"
)
SM_READ = (
    "resourcemanager.projects.{get,list} secretmanager.locations.{get,list} secretmanager.secrets.{get,getIamPolicy,list} "
    "secretmanager.versions.{get,list}"
)
SM_VERSIONS = f"{SM_READ} secretmanager.versions.{{add,destroy,disable,enable}}"
SM_ADMIN = f"{SM_VERSIONS} secretmanager.versions.access secretmanager.secrets.{{create,delete,setIamPolicy,update}}"
SCHEDULER_READ = (
    "cloudscheduler.jobs.{get,list} cloudscheduler.locations.{get,list} resourcemanager.projects.{get,list}"
)
MONITORING_READ = (
    "monitoring.alertPolicies.{get,list} monitoring.dashboards.{get,list} monitoring.groups.{get,list} "
    "monitoring.metricDescriptors.{get,list} monitoring.monitoredResourceDescriptors.{get,list} "
    "monitoring.notificationChannelDescriptors.{get,list} monitoring.notificationChannels.{get,list} "
    "monitoring.snoozes.{get,list} monitoring.timeSeries.list monitoring.uptimeCheckConfigs.{get,list} "
    "resourcemanager.projects.{get,list}"
)
MONITORING_EDIT = (
    f"{MONITORING_READ} monitoring.alertPolicies.{{create,delete,update}} monitoring.dashboards.{{create,delete,update}} "
    "monitoring.metricDescriptors.{create,delete} monitoring.timeSeries.create "
    "monitoring.notificationChannels.{create,delete,sendVerificationCode,update,verify} monitoring.snoozes.{create,update}"
)

ROLES: dict[str, tuple[str, str]] = {
    # Cloud Run
    "roles/run.invoker": ("run", "run.jobs.run run.routes.invoke"),
    "roles/run.servicesInvoker": ("run", "run.routes.invoke"),
    "roles/run.jobsExecutor": ("run", "run.executions.cancel run.jobs.run"),
    "roles/run.jobsExecutorWithOverrides": ("run", "run.executions.cancel run.jobs.run run.jobs.runWithOverrides"),
    "roles/run.viewer": ("run", f"{RUN_GET} {RUN_POLICY}"),
    "roles/run.developer": ("run", RUN_DEVELOP),
    "roles/run.sourceDeveloper": ("run", RUN_DEVELOP),
    "roles/run.admin": ("run", f"{RUN_DEVELOP} run.jobs.setIamPolicy run.services.setIamPolicy"),
    # Cloud Storage; legacy roles: https://cloud.google.com/storage/docs/access-control/iam-roles
    "roles/storage.objectViewer": ("storage", STORAGE_READ),
    "roles/storage.objectCreator": (
        "storage",
        "resourcemanager.projects.{get,list} storage.folders.create storage.managedFolders.create "
        "storage.multipartUploads.{abort,create,listParts} storage.objects.create",
    ),
    "roles/storage.objectUser": (
        "storage",
        f"resourcemanager.projects.{{get,list}} {STORAGE_FOLDERS} {STORAGE_UPLOADS} "
        "storage.objects.{create,createContext,delete,deleteContext,get,list,move,restore,update,updateContext}",
    ),
    "roles/storage.objectAdmin": (
        "storage",
        f"resourcemanager.projects.{{get,list}} {STORAGE_FOLDERS} storage.managedFolders.{{getIamPolicy,setIamPolicy}} "
        f"{STORAGE_UPLOADS} "
        "storage.objects.{create,delete,get,getIamPolicy,list,move,overrideUnlockedRetention,restore,setIamPolicy,"
        "setRetention,update}",
    ),
    "roles/storage.admin": (
        "storage",
        f"resourcemanager.projects.{{get,list}} {STORAGE_FOLDERS} storage.managedFolders.{{getIamPolicy,setIamPolicy}} "
        f"{STORAGE_UPLOADS} storage.buckets.{{create,createTagBinding,delete,deleteTagBinding,enableObjectRetention,get,"
        "getIamPolicy,getIpFilter,getObjectInsights,list,listEffectiveTags,listTagBindings,relocate,restore,setIamPolicy,"
        "setIpFilter,update} storage.bucketOperations.{cancel,get,list} "
        "storage.anywhereCaches.{create,disable,get,list,pause,resume,update} "
        "storage.objects.{create,delete,get,getIamPolicy,list,move,overrideUnlockedRetention,restore,setIamPolicy,"
        "setRetention,update}",
    ),
    "roles/storage.bucketViewer": ("storage", "storage.buckets.{get,list}"),
    "roles/storage.legacyBucketReader": (
        "storage",
        "storage.buckets.get storage.folders.{get,list} storage.managedFolders.{get,list} storage.multipartUploads.list "
        "storage.objects.list",
    ),
    "roles/storage.legacyBucketWriter": (
        "storage",
        f"storage.buckets.get {STORAGE_FOLDERS} {STORAGE_UPLOADS} "
        "storage.objects.{create,delete,list,restore,setRetention}",
    ),
    "roles/storage.legacyBucketOwner": (
        "storage",
        f"storage.buckets.{{enableObjectRetention,get,getIamPolicy,restore,setIamPolicy,update}} {STORAGE_FOLDERS} "
        "storage.managedFolders.{getIamPolicy,setIamPolicy} "
        f"{STORAGE_UPLOADS} storage.objects.{{create,delete,list,restore,setRetention}}",
    ),
    "roles/storage.legacyObjectReader": ("storage", "storage.objects.get"),
    "roles/storage.legacyObjectOwner": (
        "storage",
        "storage.objects.{get,getIamPolicy,overrideUnlockedRetention,setIamPolicy,setRetention,update}",
    ),
    # Logging
    "roles/logging.viewer": ("logging", LOG_VIEW),
    "roles/logging.privateLogViewer": ("logging", f"{LOG_VIEW} logging.privateLogEntries.list logging.views.access"),
    "roles/logging.logWriter": ("logging", "logging.logEntries.{create,route}"),
    "roles/logging.viewAccessor": (
        "logging",
        "logging.logEntries.download logging.views.{access,listLogs,listResourceKeys}",
    ),
    "roles/logging.configWriter": ("logging", LOG_CONFIGURE),
    "roles/logging.admin": (
        "logging",
        f"{LOG_CONFIGURE} logging.logEntries.{{create,download,list,route}} logging.logs.delete "
        "logging.privateLogEntries.list logging.views.access",
    ),
    # Artifact Registry
    "roles/artifactregistry.reader": ("artifactregistry", AR_READ),
    "roles/artifactregistry.writer": ("artifactregistry", AR_WRITE),
    "roles/artifactregistry.repoAdmin": ("artifactregistry", AR_REPO_ADMIN),
    "roles/artifactregistry.admin": ("artifactregistry", AR_ADMIN),
    # Service accounts
    "roles/iam.serviceAccountUser": ("iam", f"{ACCOUNT_READ} iam.serviceAccounts.actAs"),
    "roles/iam.serviceAccountViewer": ("iam", f"{ACCOUNT_READ} iam.serviceAccounts.getIamPolicy"),
    "roles/iam.serviceAccountCreator": ("iam", f"{ACCOUNT_READ} iam.serviceAccounts.create"),
    "roles/iam.serviceAccountDeleter": ("iam", f"{ACCOUNT_READ} iam.serviceAccounts.delete"),
    "roles/iam.serviceAccountAdmin": ("iam", ACCOUNT_ADMIN),
    "roles/iam.serviceAccountTokenCreator": (
        "iam",
        f"{ACCOUNT_READ} iam.serviceAccounts.{{getAccessToken,getOpenIdToken,implicitDelegation,signBlob,signJwt}}",
    ),
    "roles/iam.serviceAccountOpenIdTokenCreator": ("iam", "iam.serviceAccounts.getOpenIdToken"),
    "roles/iam.securityReviewer": (
        "iam",
        f"{ACCOUNT_READ} iam.serviceAccounts.getIamPolicy resourcemanager.projects.getIamPolicy run.jobs.getIamPolicy "
        "run.jobs.list run.services.getIamPolicy run.services.list storage.buckets.{getIamPolicy,list}",
    ),
    "roles/iam.workloadIdentityUser": (
        "iam",
        "iam.serviceAccounts.{get,getAccessToken,getOpenIdToken,list}",
    ),
    "roles/iam.workloadIdentityPoolAdmin": (
        "iam",
        "iam.workloadIdentityPoolProviders.{create,delete,get,list,undelete,update} "
        "iam.workloadIdentityPools.{create,delete,get,list,undelete,update} resourcemanager.projects.{get,list}",
    ),
    # Resource Manager, Service Usage, Billing
    "roles/resourcemanager.projectIamAdmin": (
        "resourcemanager",
        "iam.policybindings.{get,list} resourcemanager.projects.{createPolicyBinding,deletePolicyBinding,get,getIamPolicy,"
        "searchPolicyBindings,setIamPolicy,updatePolicyBinding}",
    ),
    "roles/browser": (
        "resourcemanager",
        "resourcemanager.projects.{get,getIamPolicy,list}",
    ),
    "roles/resourcemanager.projectMover": ("resourcemanager", "resourcemanager.projects.{get,move,update}"),
    "roles/resourcemanager.projectDeleter": ("resourcemanager", "resourcemanager.projects.delete"),
    "roles/serviceusage.serviceUsageAdmin": (
        "serviceusage",
        "serviceusage.operations.{cancel,delete,get,list} serviceusage.quotas.{get,update} "
        "serviceusage.services.{disable,enable,get,list,use} resourcemanager.projects.{get,list}",
    ),
    "roles/serviceusage.serviceUsageConsumer": (
        "serviceusage",
        "serviceusage.operations.{get,list} serviceusage.quotas.get serviceusage.services.{get,list,use}",
    ),
    "roles/serviceusage.serviceUsageViewer": (
        "serviceusage",
        "serviceusage.operations.{get,list} serviceusage.quotas.get serviceusage.services.{get,list} "
        "resourcemanager.projects.{get,list}",
    ),
    "roles/billing.viewer": ("billing", "billing.accounts.{get,list} resourcemanager.projects.get"),
    "roles/billing.projectManager": (
        "billing",
        "resourcemanager.projects.{createBillingAssignment,deleteBillingAssignment,get}",
    ),
    # BigQuery
    "roles/bigquery.dataViewer": ("bigquery", BQ_READ),
    "roles/bigquery.dataEditor": ("bigquery", BQ_EDIT),
    "roles/bigquery.dataOwner": (
        "bigquery",
        f"{BQ_EDIT} bigquery.datasets.{{delete,setIamPolicy,update}} bigquery.tables.setIamPolicy",
    ),
    "roles/bigquery.metadataViewer": (
        "bigquery",
        "bigquery.datasets.{get,getIamPolicy} bigquery.models.{getMetadata,list} bigquery.routines.{get,list} "
        "bigquery.tables.{get,getIamPolicy,list} resourcemanager.projects.{get,list}",
    ),
    "roles/bigquery.jobUser": ("bigquery", BQ_JOB),
    "roles/bigquery.readSessionUser": ("bigquery", BQ_SESSION),
    "roles/bigquery.user": (
        "bigquery",
        f"{BQ_JOB} {BQ_SESSION} bigquery.datasets.{{create,get,getIamPolicy}} bigquery.jobs.list bigquery.models.list "
        "bigquery.routines.list bigquery.tables.list",
    ),
    "roles/bigquery.resourceViewer": (
        "bigquery",
        "bigquery.jobs.{get,listAll,listExecutionMetadata} resourcemanager.projects.{get,list}",
    ),
    "roles/bigquery.admin": (
        "bigquery",
        f"{BQ_EDIT} {BQ_JOB} {BQ_SESSION} bigquery.datasets.{{delete,setIamPolicy,update}} bigquery.tables.setIamPolicy "
        "bigquery.jobs.{delete,get,list,listAll,listExecutionMetadata,update}",
    ),
    # Batch
    "roles/batch.jobsViewer": ("batch", f"{BATCH_READ} resourcemanager.projects.{{get,list}}"),
    "roles/batch.jobsEditor": ("batch", BATCH_EDIT),
    "roles/batch.jobsAdmin": ("batch", BATCH_EDIT),
    "roles/batch.agentReporter": ("batch", "batch.states.report"),
    # Workflows
    "roles/workflows.viewer": ("workflows", WORKFLOW_READ),
    "roles/workflows.invoker": (
        "workflows",
        "resourcemanager.projects.{get,list} workflows.callbacks.{list,send} workflows.executions.{cancel,create,get,list} "
        "workflows.stepEntries.{get,list}",
    ),
    "roles/workflows.editor": ("workflows", WORKFLOW_EDIT),
    "roles/workflows.admin": ("workflows", f"{WORKFLOW_EDIT} workflows.workflows.setIamPolicy"),
    # Secret Manager
    "roles/secretmanager.viewer": ("secretmanager", SM_READ),
    "roles/secretmanager.secretAccessor": (
        "secretmanager",
        "resourcemanager.projects.{get,list} secretmanager.versions.access",
    ),
    "roles/secretmanager.secretVersionAdder": (
        "secretmanager",
        "resourcemanager.projects.{get,list} secretmanager.versions.add",
    ),
    "roles/secretmanager.secretVersionManager": ("secretmanager", SM_VERSIONS),
    "roles/secretmanager.admin": ("secretmanager", SM_ADMIN),
    # Cloud Scheduler
    "roles/cloudscheduler.viewer": ("cloudscheduler", SCHEDULER_READ),
    "roles/cloudscheduler.jobRunner": (
        "cloudscheduler",
        "cloudscheduler.jobs.run resourcemanager.projects.{get,list}",
    ),
    "roles/cloudscheduler.admin": (
        "cloudscheduler",
        f"{SCHEDULER_READ} cloudscheduler.jobs.{{create,delete,enable,fullView,pause,run,update}}",
    ),
    # Monitoring
    "roles/monitoring.viewer": ("monitoring", MONITORING_READ),
    "roles/monitoring.metricWriter": (
        "monitoring",
        "monitoring.metricDescriptors.{create,get,list} monitoring.monitoredResourceDescriptors.{get,list} "
        "monitoring.timeSeries.create",
    ),
    "roles/monitoring.editor": ("monitoring", MONITORING_EDIT),
    "roles/monitoring.admin": ("monitoring", MONITORING_EDIT),
    "roles/monitoring.alertPolicyEditor": ("monitoring", "monitoring.alertPolicies.{create,delete,get,list,update}"),
    "roles/monitoring.notificationChannelEditor": (
        "monitoring",
        "monitoring.notificationChannelDescriptors.{get,list} "
        "monitoring.notificationChannels.{create,delete,get,list,sendVerificationCode,update,verify}",
    ),
    "roles/monitoring.dashboardEditor": ("monitoring", "monitoring.dashboards.{create,delete,get,list,update}"),
    # Networks, of which this cloud has none: the role a Cloud Run service agent needs on a subnetwork
    "roles/compute.networkUser": (
        "compute",
        "compute.networks.{get,list,use} compute.subnetworks.{get,list,use} resourcemanager.projects.{get,list}",
    ),
}
