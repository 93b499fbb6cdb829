terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  new_raw_bucket   = var.existing_raw_bucket == ""
  raw_bucket       = local.new_raw_bucket ? "${var.name}-raw-${local.account}-${local.region}" : var.existing_raw_bucket
  raw_bucket_arn   = "arn:${local.partition}:s3:::${local.raw_bucket}"
  on_s3tables      = var.catalog == "s3tables"
  new_table_bucket = local.on_s3tables && var.table_bucket_arn == ""
  at_table_bucket  = local.on_s3tables || var.table_bucket_arn != ""
  table_bucket_arn = local.new_table_bucket ? aws_s3tables_table_bucket.lake[0].arn : var.table_bucket_arn
  # Glue's own REST endpoint: the same permissions, and one more for its configuration.
  on_glue_by_rest = var.catalog == "rest" && can(regex("^https://glue\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/iceberg$", var.rest_uri))
  uses_glue       = var.catalog == "glue" || local.on_glue_by_rest
  has_warehouse   = !local.on_s3tables
  catalog = {
    s3tables = "s3tables:${local.table_bucket_arn}"
    glue     = "glue:"
    rest     = "rest:${var.rest_uri}"
    postgres = "postgres"
    sqlite   = "sqlite"
  }[var.catalog]

  on_fargate      = var.compute == "fargate"
  on_lambda       = var.compute == "lambda"
  on_own_machines = var.compute == "external"
  merge_on_event  = local.on_lambda && var.merge_in == "event"
  # An image that is left over from Fargate does not count where there is a zip.
  lambda_from_image = var.code_key == ""
}
