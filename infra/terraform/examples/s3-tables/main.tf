# A lake in S3 Tables, with Fargate workers in the default VPC. First with compute = "external", so that the configuration
# is there before a process reads it: aws s3 cp silversmith.toml "$(terraform output -raw config_uri)".

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

provider "aws" {
  region = "eu-west-1"
}

variable "image" {
  type        = string
  default     = ""
  description = "URI of the container image. Empty makes no workers."
}

data "aws_vpc" "default" {
  default = true
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.default.id]
  }
}

module "silversmith" {
  source = "../.."

  name        = "silversmith"
  catalog     = "s3tables"
  alarm_email = "you@example.org"

  compute = var.image == "" ? "external" : "fargate"
  image   = var.image
  vpc_id  = data.aws_vpc.default.id
  subnets = data.aws_subnets.default.ids
}

output "config_uri" {
  value = module.silversmith.config_uri
}
