# --- The steps, one after the other, on a schedule ---

# compute=external: your own machines ask for steps here, run them and answer.
resource "aws_sfn_activity" "steps" {
  count = local.on_own_machines ? 1 : 0
  name  = "${var.name}-steps"
}

data "aws_iam_policy_document" "own_machines" {
  count = local.on_own_machines ? 1 : 0

  statement {
    actions = [
      "states:GetActivityTask",
      "states:SendTaskSuccess",
      "states:SendTaskFailure",
      "states:SendTaskHeartbeat",
    ]
    resources = [aws_sfn_activity.steps[0].id]
  }
}

resource "aws_iam_policy" "steps" {
  count       = local.on_own_machines ? 1 : 0
  name_prefix = "${var.name}-steps-"
  description = "What a machine of your own needs to run the steps of this module"
  policy      = data.aws_iam_policy_document.own_machines[0].json
}

data "aws_iam_policy_document" "state_machine" {
  statement {
    actions   = ["events:PutEvents"]
    resources = [aws_cloudwatch_event_bus.bus.arn]
  }

  # How Step Functions learns that a task has ended. Whatever the compute is: it looks at this when the state machine is
  # updated to run tasks, and IAM takes seconds to know of a change.
  statement {
    actions   = ["events:PutTargets", "events:PutRule", "events:DescribeRule"]
    resources = ["arn:${local.partition}:events:${local.region}:${local.account}:rule/StepFunctionsGetEventsForECSTaskRule"]
  }
}

data "aws_iam_policy_document" "invoke" {
  count = local.on_lambda ? 1 : 0

  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.function["events"].arn]
  }
}

data "aws_iam_policy_document" "run_tasks" {
  count = local.on_fargate ? 1 : 0

  statement {
    actions   = ["ecs:RunTask"]
    resources = [aws_ecs_task_definition.worker[0].arn]

    condition {
      test     = "ArnEquals"
      variable = "ecs:cluster"
      values   = [aws_ecs_cluster.workers[0].arn]
    }
  }

  statement {
    actions   = ["ecs:StopTask", "ecs:DescribeTasks"]
    resources = ["arn:${local.partition}:ecs:${local.region}:${local.account}:task/${var.name}/*"]
  }

  statement {
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.task[0].arn, aws_iam_role.task_execution[0].arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "state_machine" {
  name_prefix        = "${var.name}-steps-"
  assume_role_policy = data.aws_iam_policy_document.trust["states"].json
}

resource "aws_iam_role_policy" "state_machine" {
  name   = "steps"
  role   = aws_iam_role.state_machine.id
  policy = data.aws_iam_policy_document.state_machine.json
}

resource "aws_iam_role_policy" "invoke" {
  count  = local.on_lambda ? 1 : 0
  name   = "invoke"
  role   = aws_iam_role.state_machine.id
  policy = data.aws_iam_policy_document.invoke[0].json
}

resource "aws_iam_role_policy" "run_tasks" {
  count  = local.on_fargate ? 1 : 0
  name   = "run-tasks"
  role   = aws_iam_role.state_machine.id
  policy = data.aws_iam_policy_document.run_tasks[0].json
}

locals {
  steps = ["bronze", "silver", "gold"]
  after = { bronze = "Silver", silver = "Gold" }
  retry = [
    { ErrorEquals = ["silversmith.Configuration"], MaxAttempts = 0 },
    { ErrorEquals = ["States.ALL"], IntervalSeconds = 5, BackoffRate = 3, MaxAttempts = 3 },
  ]

  task_resource = (
    local.on_fargate ? "arn:${local.partition}:states:::ecs:runTask.sync" :
    local.on_lambda ? "arn:${local.partition}:states:::lambda:invoke" : one(aws_sfn_activity.steps[*].id)
  )

  task_states = {
    for step in local.steps : title(step) => merge(
      {
        Type           = "Task"
        Resource       = local.task_resource
        ResultPath     = "$.${step}"
        TimeoutSeconds = 7200
        Retry          = local.retry
        Catch          = [{ ErrorEquals = ["States.ALL"], Next = "${title(step)}Failed" }]
        # As text: the three kinds of compute have arguments of different types.
        Parameters = jsondecode(local.on_fargate ? jsonencode({
          Cluster        = one(aws_ecs_cluster.workers[*].arn)
          TaskDefinition = one(aws_ecs_task_definition.worker[*].arn)
          LaunchType     = "FARGATE"
          NetworkConfiguration = {
            AwsvpcConfiguration = {
              Subnets        = var.subnets
              SecurityGroups = aws_security_group.task[*].id
              AssignPublicIp = var.assign_public_ip
            }
          }
          Overrides = { ContainerOverrides = [{ Name = "silversmith", Command = step == "gold" ? [step] : [step, "--lenient"] }] }
          }) : local.on_lambda ? jsonencode({
          FunctionName = aws_lambda_function.function["events"].arn
          Payload      = { step = step }
        }) : jsonencode({ "step" = step, "execution.$" = "$$.Execution.Id" }))
      },
      local.on_own_machines ? { HeartbeatSeconds = 300 } : {},
      # Two, so that neither branch has to have the type of the other.
      step == "gold" ? { End = true } : {},
      step == "gold" ? {} : { Next = lookup(local.after, step, "") },
    )
  }

  failed_states = {
    for step in local.steps : "${title(step)}Failed" => {
      Type       = "Pass"
      Parameters = { "step" = step, "error.$" = "$.Error", "cause.$" = "$.Cause" }
      Next       = "Announce"
    }
  }
}

resource "aws_sfn_state_machine" "steps" {
  name     = var.name
  role_arn = aws_iam_role.state_machine.arn

  definition = jsonencode({
    Comment = "List what is new into bronze, merge it into silver, refresh gold. A step that fails is tried again, then announced."
    StartAt = "Bronze"
    States = merge(local.task_states, local.failed_states, {
      Announce = {
        Type     = "Task"
        Resource = "arn:${local.partition}:states:::events:putEvents"
        Parameters = {
          Entries = [{
            Source       = "silversmith"
            DetailType   = "step.failed"
            EventBusName = aws_cloudwatch_event_bus.bus.name
            Detail = {
              "version" = 1
              "id.$"    = "$$.Execution.Id"
              "step.$"  = "$.step"
              "error.$" = "$.error"
              "cause.$" = "$.cause"
            }
          }]
        }
        TimeoutSeconds = 60
        Retry          = [{ ErrorEquals = ["States.ALL"], IntervalSeconds = 5, BackoffRate = 3, MaxAttempts = 3 }]
        # A bus out of order does not hide which step failed.
        Catch      = [{ ErrorEquals = ["States.ALL"], ResultPath = "$.announced", Next = "Failed" }]
        ResultPath = "$.announced"
        Next       = "Failed"
      }
      Failed = { Type = "Fail", ErrorPath = "$.error", CausePath = "$.cause" }
    })
  })

  depends_on = [aws_iam_role_policy.state_machine, aws_iam_role_policy.invoke, aws_iam_role_policy.run_tasks]
}

data "aws_iam_policy_document" "schedule" {
  statement {
    actions   = ["states:StartExecution"]
    resources = [aws_sfn_state_machine.steps.arn]
  }

  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.undelivered.arn]
  }
}

resource "aws_iam_role" "schedule" {
  name_prefix        = "${var.name}-schedule-"
  assume_role_policy = data.aws_iam_policy_document.trust["scheduler"].json
}

resource "aws_iam_role_policy" "schedule" {
  name   = "start"
  role   = aws_iam_role.schedule.id
  policy = data.aws_iam_policy_document.schedule.json
}

resource "aws_scheduler_schedule" "steps" {
  name                         = var.name
  description                  = "Bronze, silver and gold of all pipelines"
  schedule_expression          = var.schedule_expression
  schedule_expression_timezone = var.schedule_timezone
  state                        = var.schedule_state

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_sfn_state_machine.steps.arn
    role_arn = aws_iam_role.schedule.arn
    input    = jsonencode({ by = "schedule" })

    dead_letter_config {
      arn = aws_sqs_queue.undelivered.arn
    }

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }
  }
}
