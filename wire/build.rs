//! Compiles `proto/report.proto` with a compiler written in Rust, so that nobody has to install `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/report.proto");
    let descriptors = protox::compile(["proto/report.proto"], ["proto"])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
