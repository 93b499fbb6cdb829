# The names, defaults and limits are those of the templates' parameters.

variable "name" {
  type        = string
  default     = "silversmith"
  description = "Begins the names of all resources, as the name of the stack does: lower case, and short."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.name))
    error_message = "Lower-case letters, digits and hyphens, at most 20."
  }
}

# --- What stays, as in data.yaml ---

variable "existing_raw_bucket" {
  type        = string
  default     = ""
  description = "The raw bucket, if it exists already, in this account. Empty makes one."
}

variable "raw_prefix" {
  type        = string
  default     = ""
  description = "Only objects below this prefix make events and may be read, for example raw/. Empty is the whole bucket."
}

variable "raw_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key of the raw bucket, where its objects are encrypted with one of yours."
}

variable "raw_versions_days" {
  type        = number
  default     = 30
  description = "For how many days a new raw bucket keeps replaced and deleted versions. Longer than the queue keeps events."

  validation {
    condition     = var.raw_versions_days >= 14
    error_message = "At least 14."
  }
}

variable "notifications" {
  type        = string
  default     = "s3"
  description = "How events come to the queue. The notification of an existing bucket is set by hand, see infra/README.md. none is for a schedule alone."

  validation {
    condition     = contains(["s3", "eventbridge", "none"], var.notifications)
    error_message = "One of s3, eventbridge, none."
  }
}

variable "queue_visibility" {
  type        = number
  default     = 2100
  description = "Seconds, for Lambda: six times its timeout, and the batching window. Workers set their own for each message."

  validation {
    condition     = var.queue_visibility >= 60 && var.queue_visibility <= 43200
    error_message = "From 60 to 43200."
  }
}

variable "catalog" {
  type        = string
  default     = "s3tables"
  description = "sqlite is for one machine of your own, and for the emulator."

  validation {
    condition     = contains(["s3tables", "glue", "rest", "postgres", "sqlite"], var.catalog)
    error_message = "One of s3tables, glue, rest, postgres, sqlite."
  }
}

variable "table_bucket_arn" {
  type        = string
  default     = ""
  description = "The table bucket, if it exists already. Empty makes one with catalog=s3tables. With catalog=rest for its REST endpoint."
}

variable "table_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key of an existing table bucket, or of the warehouse, where they are encrypted with one of yours."
}

variable "rest_uri" {
  type        = string
  default     = ""
  description = "catalog=rest, https://..."
}

variable "bronze_namespace" {
  type        = string
  default     = "bronze"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9_]*[a-z0-9])?$", var.bronze_namespace)) && !startswith(var.bronze_namespace, "aws")
    error_message = "Lower-case letters, digits and _, not at an end, and not beginning with aws."
  }
}

variable "silver_namespace" {
  type        = string
  default     = "silver"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9_]*[a-z0-9])?$", var.silver_namespace)) && !startswith(var.silver_namespace, "aws")
    error_message = "Lower-case letters, digits and _, not at an end, and not beginning with aws."
  }
}

variable "gold_namespace" {
  type        = string
  default     = "gold"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9_]*[a-z0-9])?$", var.gold_namespace)) && !startswith(var.gold_namespace, "aws")
    error_message = "Lower-case letters, digits and _, not at an end, and not beginning with aws."
  }
}

variable "alarm_email" {
  type        = string
  default     = ""
  description = "Gets the alarms, after a confirmation by mail. Empty makes no subscription."
}

variable "message_age_alarm" {
  type        = number
  default     = 900
  description = "Seconds. Only while messages wait - those that a failed invocation hides are not counted."
}

# --- What runs over it, as in compute.yaml ---

variable "compute" {
  type        = string
  default     = "external"
  description = "external makes none, but the state machine whose steps your own machines run."

  validation {
    condition     = contains(["external", "fargate", "lambda"], var.compute)
    error_message = "One of external, fargate, lambda."
  }
}

variable "architecture" {
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "One of x86_64, arm64."
  }
}

variable "catalog_url_secret_arn" {
  type        = string
  default     = ""
  description = "catalog=postgres. A secret of Secrets Manager with the whole URL, postgres://..."
}

variable "rest_credential_secret_arn" {
  type        = string
  default     = ""
  description = "catalog=rest with OAuth2. A secret of Secrets Manager with client_id:client_secret."
}

variable "secret_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key of the secret, where it is encrypted with one of yours."
}

variable "otlp_endpoint" {
  type        = string
  default     = ""
  description = "Where traces and metrics go by OTLP, for example http://collector:4318. Empty sends none."
}

variable "image" {
  type        = string
  default     = ""
  description = "URI of the container image. For Lambda from ECR in this region, for one architecture, without attestations (see infra/README.md)."
}

variable "vpc_id" {
  type        = string
  default     = ""
}

variable "subnets" {
  type        = list(string)
  default     = []
}

variable "assign_public_ip" {
  type        = string
  default     = "ENABLED"
  description = "ENABLED for public subnets, as those of a default VPC. DISABLED for private ones with NAT or endpoints."

  validation {
    condition     = contains(["ENABLED", "DISABLED"], var.assign_public_ip)
    error_message = "One of ENABLED, DISABLED."
  }
}

variable "task_cpu" {
  type        = number
  default     = 512

  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.task_cpu)
    error_message = "One of 256, 512, 1024, 2048, 4096."
  }
}

variable "task_memory" {
  type        = number
  default     = 1024
  description = "MiB. Well above worker.memory of the configuration. Fargate has only some pairs of CPU and memory."

  validation {
    condition     = contains([512, 1024, 2048, 4096, 8192, 16384], var.task_memory)
    error_message = "One of 512, 1024, 2048, 4096, 8192, 16384."
  }
}

variable "min_workers" {
  type        = number
  default     = 1
  description = "0 scales to zero. The first object after hours of quiet then waits for minutes, see infra/README.md."

  validation {
    condition     = var.min_workers >= 0
    error_message = "At least 0."
  }
}

variable "max_workers" {
  type        = number
  default     = 4

  validation {
    condition     = var.max_workers >= 0
    error_message = "At least 0."
  }
}

variable "scale_out_age" {
  type        = number
  default     = 120
  description = "Seconds. Workers are added while messages wait and the oldest is older than this."

  validation {
    condition     = var.scale_out_age >= 60
    error_message = "At least 60."
  }
}

variable "scale_out_depth" {
  type        = number
  default     = 5000
  description = "Messages waiting, from which on workers are added."

  validation {
    condition     = var.scale_out_depth >= 1
    error_message = "At least 1."
  }
}

variable "code_bucket" {
  type        = string
  default     = ""
  description = "The bucket, in this region, with the zip that holds the binary under the name of bootstrap."
}

variable "code_key" {
  type        = string
  default     = ""
  description = "The key of that zip. Empty takes the Image."
}

variable "lambda_memory" {
  type        = number
  default     = 1024

  validation {
    condition     = var.lambda_memory >= 512 && var.lambda_memory <= 10240
    error_message = "From 512 to 10240."
  }
}

variable "lambda_storage" {
  type        = number
  default     = 2048
  description = "MiB of /tmp, to which large merges spill."

  validation {
    condition     = var.lambda_storage >= 512 && var.lambda_storage <= 10240
    error_message = "From 512 to 10240."
  }
}

variable "lambda_timeout" {
  type        = number
  default     = 300
  description = "Seconds. queue_visibility has to be six times as much, and the batching window."

  validation {
    condition     = var.lambda_timeout >= 60 && var.lambda_timeout <= 900
    error_message = "From 60 to 900."
  }
}

variable "maximum_concurrency" {
  type        = number
  default     = 2
  description = "Invocations at a time. Commits to one table meet in the catalog, so few large batches beat many small ones."

  validation {
    condition     = var.maximum_concurrency >= 2 && var.maximum_concurrency <= 1000
    error_message = "From 2 to 1000."
  }
}

variable "batch_size" {
  type        = number
  default     = 1000

  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 10000
    error_message = "From 1 to 10000."
  }
}

variable "batching_window" {
  type        = number
  default     = 2
  description = "Seconds that a batch waits for more messages."

  validation {
    condition     = var.batching_window >= 1 && var.batching_window <= 300
    error_message = "From 1 to 300."
  }
}

variable "merge_in" {
  type        = string
  default     = "invocation"
  description = "Silver is merged by the invocation that wrote bronze, or by a second function on the event bronze.committed."

  validation {
    condition     = contains(["invocation", "event"], var.merge_in)
    error_message = "One of invocation, event."
  }
}

variable "schedule_expression" {
  type        = string
  default     = "rate(1 hour)"
  description = "rate(...) or cron(...) of EventBridge Scheduler."

  validation {
    condition     = can(regex("^(rate|cron|at)\\(.+\\)$", var.schedule_expression))
    error_message = "rate(...), cron(...) or at(...)."
  }
}

variable "schedule_timezone" {
  type        = string
  default     = "UTC"
}

variable "schedule_state" {
  type        = string
  default     = "DISABLED"

  validation {
    condition     = contains(["ENABLED", "DISABLED"], var.schedule_state)
    error_message = "One of ENABLED, DISABLED."
  }
}

variable "silver_lag_alarm" {
  type        = number
  default     = 900
  description = "Seconds."
}

variable "log_retention_days" {
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.log_retention_days)
    error_message = "One of 1, 3, 5, 7, 14, 30, 60, 90, 180, 365."
  }
}
