//! Table files on S3.

use bytes::Bytes;
use silversmith::lake::s3_files;

use crate::emulator::stand::{Stand, Wish};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_size_are_written_read_and_deleted() {
    let stand = Stand::with(Wish { notified: false, ..Wish::default() }).await;
    let files = s3_files(stand.s3.clone(), 1024 * 1024, &super::backings::clock());
    for (name, size) in
        [("empty", 0), ("small", 10), ("m.avro", 5_000), ("large", 20 * 1024 * 1024)]
    {
        let path = format!("s3://{}/lake/{name}", stand.name);
        assert!(!files.exists(&path).await.unwrap());
        let content: Bytes = (0..size).map(|n| (n % 251) as u8).collect();
        let mut writer = files.new_output(&path).unwrap().writer().await.unwrap();
        for some in content.chunks(3 * 1024 * 1024) {
            writer.write(Bytes::copy_from_slice(some)).await.unwrap();
        }
        writer.close().await.unwrap();
        let input = files.new_input(&path).unwrap();
        assert_eq!(input.metadata().await.unwrap().size, size as u64, "{name}");
        assert_eq!(input.read().await.unwrap(), content, "{name}");
        if size > 0 {
            let reader = input.reader().await.unwrap();
            let (from, to) = (size as u64 / 2, size as u64);
            let part = reader.read(from..to).await.unwrap();
            assert_eq!(part, content.slice(from as usize..to as usize), "{name}");
        }
        files.delete(&path).await.unwrap();
        assert!(!files.exists(&path).await.unwrap(), "{name}");
        files.delete(&path).await.unwrap();
    }
    // An upload that is dropped half-way leaves nothing behind.
    let path = format!("s3://{}/lake/dropped", stand.name);
    let mut writer = files.new_output(&path).unwrap().writer().await.unwrap();
    writer.write(Bytes::from(vec![0; 9 * 1024 * 1024])).await.unwrap();
    drop(writer);
    stand
        .until("the parts are gone", async || {
            let request = stand.s3.list_multipart_uploads().bucket(&stand.name);
            request.send().await.unwrap().uploads().is_empty()
        })
        .await;
    assert!(!files.exists(&path).await.unwrap());
}
