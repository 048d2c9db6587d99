use super::*;

#[test]
fn a_platform_is_read_by_the_names_of_images_and_of_machines() {
    let platform = |os: &str, arch: &str| Platform { os: os.to_owned(), arch: arch.to_owned() };
    let table = [
        ("linux/amd64", platform("linux", "x86_64"), "linux/x86_64"),
        ("linux/arm64", platform("linux", "aarch64"), "linux/aarch64"),
        ("linux/riscv64", platform("linux", "riscv64"), "linux/riscv64"),
        ("linux", platform("linux", ""), "linux"),
        ("Linux/ARM64", platform("linux", "aarch64"), "linux/aarch64"),
        ("amd64", platform("", "x86_64"), "/x86_64"),
        ("/arm64", platform("", "aarch64"), "/aarch64"),
        ("", Platform::default(), ""),
    ];
    for (text, read, printed) in table {
        assert_eq!(text.parse(), Ok(read.clone()), "{text}");
        assert_eq!(read.to_string(), printed);
        assert_eq!(printed.parse(), Ok(read));
    }
    for wrong in ["linux/", "/", "linux/amd64/v2", "linux amd64", "linux-amd64", " linux", &"l".repeat(33), "línux"] {
        assert_eq!(wrong.parse::<Platform>(), Err(ParsePlatformError), "{wrong}");
    }
}

#[test]
fn what_is_reserved_and_released_leaves_the_node_as_it_was() {
    let web = Mark::of_name("web");
    let requirements = Requirements {
        host_ports: vec![(PortProtocol::Tcp, 80)],
        dynamic_ports: 2,
        refuses: vec![web.clone()],
        marks: vec![web.clone()],
        ..test_support::requirements()
    };
    let before = test_support::node(1);
    let mut node = before.clone();
    node.reserve(&requirements);
    node.reserve(&requirements);
    assert_eq!((node.count_of(&web), node.refused[&web], node.promised_ports), (2, 2, 4));
    assert_eq!(node.free_dynamic_ports(), PortRange::DEFAULT.size() - 4);
    node.release(&requirements);
    node.release(&requirements);
    assert_eq!(node, before);
}
