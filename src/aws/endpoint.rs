//! The endpoint of a service that is called without an SDK. It is found as AWS's SDKs find their endpoints
//! ([endpoints](https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html)).

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// What the regions of a partition begin with, and what its endpoints end with: as a rule, and in dual stack.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("", "amazonaws.com", "api.aws"),
];

/// The endpoint of a service: the one that the environment or the profile names for it, the one that they name for
/// all services, or the service's own.
pub(super) fn endpoint(config: &SdkConfig, id: &str, region: &str) -> String {
    if config.get_origin("endpoint_url").is_client_config()
        && let Some(url) = config.endpoint_url()
    {
        return url.to_owned();
    }
    let key = ServiceConfigKey::builder().service_id(id);
    let key = key.env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let for_it = key.ok().and_then(|key| config.service_config()?.load_config(key));
    let named = for_it.or_else(|| config.endpoint_url().map(str::to_owned));
    let (fips, dual) = (config.use_fips(), config.use_dual_stack());
    named.unwrap_or_else(|| own(id, region, fips.unwrap_or(false), dual.unwrap_or(false)))
}

fn own(id: &str, region: &str, fips: bool, dual_stack: bool) -> String {
    let service = id.to_ascii_lowercase();
    let fips = if fips { "-fips" } else { "" };
    let found = PARTITIONS.iter().find(|(prefix, _, _)| region.starts_with(prefix));
    let suffix = found.map_or("", |(_, usual, dual)| if dual_stack { dual } else { usual });
    format!("https://{service}{fips}.{region}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn each_partition_has_its_names() {
        // From the endpoint tests of AWS's own SDKs for Glue and S3 Tables.
        for (id, region, fips, dual_stack, url) in [
            ("Glue", "af-south-1", false, false, "https://glue.af-south-1.amazonaws.com"),
            ("S3Tables", "us-east-1", true, true, "https://s3tables-fips.us-east-1.api.aws"),
            ("S3Tables", "us-east-1", false, true, "https://s3tables.us-east-1.api.aws"),
            (
                "S3Tables",
                "cn-north-1",
                true,
                true,
                "https://s3tables-fips.cn-north-1.api.amazonwebservices.com.cn",
            ),
            ("Glue", "cn-north-1", false, false, "https://glue.cn-north-1.amazonaws.com.cn"),
            ("Glue", "us-gov-west-1", true, false, "https://glue-fips.us-gov-west-1.amazonaws.com"),
            ("Glue", "us-iso-east-1", false, false, "https://glue.us-iso-east-1.c2s.ic.gov"),
            (
                "Glue",
                "us-isob-east-1",
                true,
                false,
                "https://glue-fips.us-isob-east-1.sc2s.sgov.gov",
            ),
        ] {
            assert_eq!(own(id, region, fips, dual_stack), url);
        }
    }
}
