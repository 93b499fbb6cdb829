# --- Events and alarms ---

resource "aws_cloudwatch_event_bus" "bus" {
  name = var.name
}

# Not encrypted with the key of SNS, with which alarms cannot be published. Its messages carry names and numbers.
resource "aws_sns_topic" "alarms" {
  name_prefix  = "${var.name}-alarms-"
  display_name = var.name
}

data "aws_iam_policy_document" "topic" {
  statement {
    sid       = "AlarmsOfThisAccount"
    effect    = "Allow"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }

  # Without a condition, which EventBridge does not support in the policy of a topic.
  statement {
    sid       = "Rules"
    effect    = "Allow"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.topic.json
}

resource "aws_sns_topic_subscription" "mail" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "message_age" {
  alarm_name          = "${var.name}-message-age"
  alarm_description   = "Events wait and are not received. See infra/README.md."
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.message_age_alarm
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  # Age counts only while messages wait: Lambda keeps those of a failed batch hidden until their visibility ends.
  metric_query {
    id          = "overdue"
    label       = "age of the oldest message while messages wait"
    expression  = "IF(waiting > 0, age, 0)"
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

resource "aws_cloudwatch_metric_alarm" "left" {
  for_each = {
    dead-letters = { queue = aws_sqs_queue.dead_letters.name, means = "Objects could not be processed." }
    undelivered = {
      queue = aws_sqs_queue.undelivered.name
      means = "A schedule did not start, or an event reached no target."
    }
  }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.means} See infra/README.md."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = each.value.queue }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_log_group" "logs" {
  name              = "/silversmith/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_cloudwatch_log_metric_filter" "silver_lag" {
  name           = "${var.name}-silver-lag"
  log_group_name = aws_cloudwatch_log_group.logs.name
  pattern        = "{ $.silver_lag_seconds = * }"

  # Without dimensions: the alarm is on the worst of all pipelines.
  metric_transformation {
    namespace = "silversmith/${var.name}"
    name      = "SilverLagSeconds"
    value     = "$.silver_lag_seconds"
    unit      = "Seconds"
  }
}

resource "aws_cloudwatch_metric_alarm" "silver_lag" {
  alarm_name          = "${var.name}-silver-lag"
  alarm_description   = "Rows are in bronze and not in silver. See infra/README.md."
  namespace           = "silversmith/${var.name}"
  metric_name         = "SilverLagSeconds"
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.silver_lag_alarm
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "steps" {
  alarm_name = "${var.name}-steps"
  # A step out of time counts as well: the state machine catches it, and fails.
  alarm_description   = "The state machine failed. See infra/README.md."
  namespace           = "AWS/States"
  metric_name         = "ExecutionsFailed"
  dimensions          = { StateMachineArn = aws_sfn_state_machine.steps.arn }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_event_rule" "step_failed" {
  name           = "${var.name}-step-failed"
  description    = "A step that failed for good, to the topic of the alarms"
  event_bus_name = aws_cloudwatch_event_bus.bus.name
  event_pattern  = jsonencode({ source = ["silversmith"], detail-type = ["step.failed"] })
}

resource "aws_cloudwatch_event_target" "step_failed" {
  rule           = aws_cloudwatch_event_rule.step_failed.name
  event_bus_name = aws_cloudwatch_event_bus.bus.name
  target_id      = "topic"
  arn            = aws_sns_topic.alarms.arn

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }

  input_transformer {
    input_paths    = { step = "$.detail.step", error = "$.detail.error", execution = "$.detail.id" }
    input_template = "\"silversmith: step <step> failed with <error>, in <execution>\""
  }
}
