//! TLS: one cryptography provider, ring, for the libraries that use the one of the process.

/// Makes ring the process's provider. Repeating it is harmless.
pub fn use_ring() {
    // It fails when there is a provider already: ring, as nothing else sets one.
    drop(rustls::crypto::ring::default_provider().install_default());
}
