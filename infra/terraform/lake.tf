# --- The lake ---

# config/: the configuration. checkpoints/: with locks. warehouse/: files of tables, for all catalogs but S3 Tables.
resource "aws_s3_bucket" "lake" {
  # Without force_destroy: what holds objects is not destroyed.
  bucket_prefix = "${var.name}-lake-"
}

resource "aws_s3_bucket_server_side_encryption_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "lake" {
  bucket = aws_s3_bucket.lake.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "lake" {
  bucket                  = aws_s3_bucket.lake.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  # A lock is written every few seconds while a merge runs. Deleted files of tables can be had back for a week.
  rule {
    id     = "checkpoints"
    status = "Enabled"

    filter {
      prefix = "checkpoints/"
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }
  }

  rule {
    id     = "warehouse"
    status = "Enabled"

    filter {
      prefix = "warehouse/"
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }
  }

  # What then remains of a deleted file is its delete marker.
  rule {
    id     = "delete-markers"
    status = "Enabled"
    filter {}

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "uploads-left-open"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "only_tls" {
  for_each = { lake = aws_s3_bucket.lake.arn, raw = local.raw_bucket_arn }

  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [each.value, "${each.value}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "lake" {
  bucket = aws_s3_bucket.lake.id
  policy = data.aws_iam_policy_document.only_tls["lake"].json
}

resource "aws_s3tables_table_bucket" "lake" {
  count = local.new_table_bucket ? 1 : 0
  name  = "${var.name}-lake"

  # Files that no snapshot names: of expired snapshots, or of a killed worker. A commit takes seconds, so three days
  # endanger none.
  maintenance_configuration = {
    iceberg_unreferenced_file_removal = {
      status = "enabled"
      settings = {
        unreferenced_days = 3
        non_current_days  = 7
      }
    }
  }
}

resource "aws_s3tables_namespace" "bronze" {
  count            = local.new_table_bucket ? 1 : 0
  table_bucket_arn = aws_s3tables_table_bucket.lake[0].arn
  namespace        = var.bronze_namespace
}

# One after the other: S3 Tables answers namespaces that are made at once with a conflict.
resource "aws_s3tables_namespace" "silver" {
  count            = local.new_table_bucket ? 1 : 0
  table_bucket_arn = aws_s3tables_table_bucket.lake[0].arn
  namespace        = var.silver_namespace
  depends_on       = [aws_s3tables_namespace.bronze]
}

resource "aws_s3tables_namespace" "gold" {
  count            = local.new_table_bucket ? 1 : 0
  table_bucket_arn = aws_s3tables_table_bucket.lake[0].arn
  namespace        = var.gold_namespace
  depends_on       = [aws_s3tables_namespace.silver]
}
