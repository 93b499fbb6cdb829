# --- What a worker may do ---

locals {
  glue = "arn:${local.partition}:glue:${local.region}:${local.account}"
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "ReadRawObjects"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${local.raw_bucket_arn}/${var.raw_prefix}*"]
  }

  # Without ListBucket, an object that is gone answers 403 and not 404.
  statement {
    sid       = "ListRawObjects"
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [local.raw_bucket_arn]
  }

  statement {
    sid       = "ListLake"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.lake.arn]
  }

  dynamic "statement" {
    for_each = var.raw_key_arn == "" ? [] : [1]

    content {
      sid       = "DecryptRawObjects"
      actions   = ["kms:Decrypt"]
      resources = [var.raw_key_arn]
    }
  }

  dynamic "statement" {
    for_each = var.table_key_arn == "" ? [] : [1]

    content {
      sid       = "EncryptTables"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.table_key_arn]
    }
  }

  statement {
    sid       = "ReadConfiguration"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.lake.arn}/config/*"]
  }

  statement {
    sid       = "CheckpointsAndLocks"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.lake.arn}/checkpoints/*"]
  }

  statement {
    sid       = "TakeMessages"
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.raw.arn]
  }

  statement {
    sid       = "SendDeadLetters"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "Announce"
    actions   = ["events:PutEvents", "events:DescribeEventBus"]
    resources = [aws_cloudwatch_event_bus.bus.arn]
  }

  dynamic "statement" {
    for_each = local.has_warehouse ? [1] : []

    content {
      sid       = "TableFiles"
      actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
      resources = ["${aws_s3_bucket.lake.arn}/warehouse/*"]
    }
  }

  # On both ARNs, as in AWS's own example: the ARN of a table has an id, which a table that is yet to be made lacks.
  dynamic "statement" {
    for_each = local.at_table_bucket ? [1] : []

    content {
      sid = "Tables"
      actions = [
        "s3tables:GetTableBucket",
        "s3tables:ListNamespaces",
        "s3tables:GetNamespace",
        "s3tables:CreateNamespace",
        "s3tables:ListTables",
        "s3tables:CreateTable",
        "s3tables:GetTable",
        "s3tables:GetTableMetadataLocation",
        "s3tables:UpdateTableMetadataLocation",
        "s3tables:GetTableData",
        "s3tables:PutTableData",
      ]
      resources = [local.table_bucket_arn, "${local.table_bucket_arn}/table/*"]
    }
  }

  dynamic "statement" {
    for_each = local.uses_glue ? [1] : []

    content {
      sid = "GlueTables"
      actions = [
        "glue:GetDatabase",
        "glue:CreateDatabase",
        "glue:GetTable",
        "glue:GetTables",
        "glue:CreateTable",
        "glue:UpdateTable",
      ]
      resources = [
        "${local.glue}:catalog",
        "${local.glue}:database/${var.bronze_namespace}",
        "${local.glue}:database/${var.silver_namespace}",
        "${local.glue}:database/${var.gold_namespace}",
        "${local.glue}:table/${var.bronze_namespace}/*",
        "${local.glue}:table/${var.silver_namespace}/*",
        "${local.glue}:table/${var.gold_namespace}/*",
      ]
    }
  }

  dynamic "statement" {
    for_each = local.uses_glue ? [1] : []

    content {
      sid       = "GlueDatabases"
      actions   = ["glue:GetCatalog", "glue:GetDatabases"]
      resources = ["${local.glue}:catalog", "${local.glue}:database/*"]
    }
  }
}

# For tasks and functions, and to be attached to whatever your own machines are.
resource "aws_iam_policy" "worker" {
  name_prefix = "${var.name}-worker-"
  description = "What a silversmith worker of this module may do"
  policy      = data.aws_iam_policy_document.worker.json
}
