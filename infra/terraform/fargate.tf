# --- compute=fargate ---

locals {
  # What the configuration finds in the environment.
  environment = merge(
    {
      SILVERSMITH_CONFIG     = "s3://${aws_s3_bucket.lake.id}/config/silversmith.toml"
      SILVERSMITH_LOG_FORMAT = "json"
      RAW_BUCKET             = local.raw_bucket
      RAW_QUEUE_URL          = aws_sqs_queue.raw.id
      RAW_DLQ_URL            = aws_sqs_queue.dead_letters.id
      CHECKPOINTS            = "s3://${aws_s3_bucket.lake.id}/checkpoints"
      EVENT_BUS              = aws_cloudwatch_event_bus.bus.name
      WAREHOUSE              = "s3://${aws_s3_bucket.lake.id}/warehouse"
    },
    var.catalog_url_secret_arn == "" ? { CATALOG = local.catalog } : {},
    var.otlp_endpoint == "" ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT = var.otlp_endpoint },
  )
  secrets = merge(
    var.catalog_url_secret_arn == "" ? {} : { CATALOG = var.catalog_url_secret_arn },
    var.rest_credential_secret_arn == "" ? {} : { SILVERSMITH_REST_CREDENTIAL = var.rest_credential_secret_arn },
  )
}

data "aws_iam_policy_document" "trust" {
  for_each = toset(["ecs-tasks", "states", "scheduler"])

  statement {
    effect  = "Allow"
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["${each.key}.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_ecs_cluster" "workers" {
  count = local.on_fargate ? 1 : 0
  name  = var.name
}

resource "aws_iam_role" "task" {
  count              = local.on_fargate ? 1 : 0
  name_prefix        = "${var.name}-task-"
  assume_role_policy = data.aws_iam_policy_document.trust["ecs-tasks"].json
}

resource "aws_iam_role_policy_attachment" "task" {
  count      = local.on_fargate ? 1 : 0
  role       = aws_iam_role.task[0].name
  policy_arn = aws_iam_policy.worker.arn
}

data "aws_iam_policy_document" "start_tasks" {
  statement {
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]
    resources = ["arn:${local.partition}:ecr:*:*:repository/*"]
  }

  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.logs.arn}:*"]
  }

  dynamic "statement" {
    for_each = local.secrets

    content {
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.secret_key_arn == "" ? [] : [1]

    content {
      actions   = ["kms:Decrypt"]
      resources = [var.secret_key_arn]
    }
  }
}

resource "aws_iam_role" "task_execution" {
  count              = local.on_fargate ? 1 : 0
  name_prefix        = "${var.name}-task-execution-"
  assume_role_policy = data.aws_iam_policy_document.trust["ecs-tasks"].json
}

resource "aws_iam_role_policy" "start_tasks" {
  count  = local.on_fargate ? 1 : 0
  name   = "start-tasks"
  role   = aws_iam_role.task_execution[0].id
  policy = data.aws_iam_policy_document.start_tasks.json
}

resource "aws_ecs_task_definition" "worker" {
  count                    = local.on_fargate ? 1 : 0
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.task_cpu
  memory                   = var.task_memory
  task_role_arn            = aws_iam_role.task[0].arn
  execution_role_arn       = aws_iam_role.task_execution[0].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name      = "silversmith"
    image     = var.image
    essential = true
    command   = ["run"]
    # A task counts as started once it has lived for as long as this: one that exits over its configuration never does.
    healthCheck = { command = ["CMD", "/usr/local/bin/silversmith", "--version"], interval = 30, timeout = 10, retries = 2 }
    # Longer than worker.shutdown_grace, in which messages are finished or released.
    stopTimeout = 60
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.logs.name
        awslogs-region        = local.region
        awslogs-stream-prefix = "worker"
      }
    }
    environment = [for key, value in merge({ AWS_REGION = local.region }, local.environment) : { name = key, value = value }]
    secrets     = [for key, value in local.secrets : { name = key, valueFrom = value }]
  }])

  lifecycle {
    precondition {
      condition     = var.image != ""
      error_message = "compute=fargate needs image."
    }
  }
}

resource "aws_security_group" "task" {
  count       = local.on_fargate ? 1 : 0
  name_prefix = "${var.name}-"
  description = "silversmith workers, with nothing inbound"
  vpc_id      = var.vpc_id

  egress {
    description = "AWS and the catalog"
    protocol    = "tcp"
    from_port   = 0
    to_port     = 65535
    cidr_blocks = ["0.0.0.0/0"]
  }

  lifecycle {
    precondition {
      condition     = var.vpc_id != "" && length(var.subnets) > 0
      error_message = "compute=fargate needs vpc_id and subnets."
    }
  }
}

resource "aws_ecs_service" "workers" {
  count           = local.on_fargate ? 1 : 0
  name            = var.name
  cluster         = aws_ecs_cluster.workers[0].id
  task_definition = aws_ecs_task_definition.worker[0].arn
  launch_type     = "FARGATE"
  propagate_tags  = "SERVICE"

  # The number of tasks is the scaling's from then on.
  desired_count                      = var.min_workers
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnets
    security_groups  = [aws_security_group.task[0].id]
    assign_public_ip = var.assign_public_ip == "ENABLED"
  }

  # Its tasks need what the roles may do, which nothing else here waits for.
  depends_on = [aws_iam_role_policy.start_tasks, aws_iam_role_policy_attachment.task]

  lifecycle {
    ignore_changes = [desired_count]
  }
}

resource "aws_appautoscaling_target" "workers" {
  count              = local.on_fargate ? 1 : 0
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.workers[0].name}/${aws_ecs_service.workers[0].name}"
  min_capacity       = var.min_workers
  max_capacity       = var.max_workers
}

resource "aws_appautoscaling_policy" "workers" {
  for_each           = local.on_fargate ? { out = 1, in = -1 } : {}
  name               = "${var.name}-${each.key}"
  policy_type        = "StepScaling"
  service_namespace  = aws_appautoscaling_target.workers[0].service_namespace
  scalable_dimension = aws_appautoscaling_target.workers[0].scalable_dimension
  resource_id        = aws_appautoscaling_target.workers[0].resource_id

  step_scaling_policy_configuration {
    adjustment_type         = "ChangeInCapacity"
    cooldown                = 120
    metric_aggregation_type = "Maximum"

    step_adjustment {
      metric_interval_lower_bound = each.value > 0 ? 0 : null
      metric_interval_upper_bound = each.value > 0 ? null : 0
      scaling_adjustment          = each.value
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "scale_out_when_behind" {
  count               = local.on_fargate ? 1 : 0
  alarm_name          = "${var.name}-scale-out-when-behind"
  alarm_description   = "Adds a worker. Not a fault."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_appautoscaling_policy.workers["out"].arn]

  # Age counts only while messages wait: one that was released is old, and more workers would not help it.
  metric_query {
    id          = "behind"
    label       = "many wait, or one for long"
    expression  = "IF(waiting > ${var.scale_out_depth} OR (waiting > 0 AND age > ${var.scale_out_age}), 1, 0)"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { age = "ApproximateAgeOfOldestMessage", waiting = "ApproximateNumberOfMessagesVisible" }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = aws_sqs_queue.raw.name }
        stat        = "Maximum"
        period      = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "scale_in_when_empty" {
  count               = local.on_fargate ? 1 : 0
  alarm_name          = "${var.name}-scale-in-when-empty"
  alarm_description   = "Takes a worker away after ten minutes of an empty queue. Not a fault."
  comparison_operator = "LessThanOrEqualToThreshold"
  threshold           = 0
  evaluation_periods  = 10
  treat_missing_data  = "ignore"
  alarm_actions       = [aws_appautoscaling_policy.workers["in"].arn]

  metric_query {
    id          = "left"
    label       = "messages waiting or in flight"
    expression  = "waiting + inflight"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { waiting = "ApproximateNumberOfMessagesVisible", inflight = "ApproximateNumberOfMessagesNotVisible" }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/SQS"
        metric_name = metric_query.value
        dimensions  = { QueueName = aws_sqs_queue.raw.name }
        stat        = "Maximum"
        period      = 60
      }
    }
  }
}
