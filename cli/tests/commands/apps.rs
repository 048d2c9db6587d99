//! Apps from Compose files.

use serde_json::Value;

use super::{code, davit, start, stderr, stdout};

const SHOP: &str = "\
services:
  web:
    image: example/web:${TAG:-1}
    depends_on: [db]
    deploy: {replicas: 2}
  db:
    image: example/db:1
";

#[tokio::test]
async fn an_app_is_planned_brought_up_listed_and_taken_down() {
    let (cluster, manager) = start("app").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(&file, SHOP).unwrap();
    let file = file.to_str().unwrap();
    let plan = ["plan", "-f", file, "-p", "shop"];

    let planned = davit(&manager, &plan).await;
    assert_eq!(code(&planned), Some(2), "{}", stderr(&planned));
    let told = stdout(&planned);
    assert!(told.contains("+ shop_web is created: 2 tasks created\n"), "{told}");
    assert!(told.contains("    + task.container.image: example/web:1\n"), "{told}");
    // No node here has an engine.
    assert!(told.contains("2 of its tasks would find no place: ") && told.contains("runtime"), "{told}");
    assert!(told.ends_with("shop: 2 to create\n"), "{told}");
    let json: Value = serde_json::from_slice(&davit(&manager, &["plan", "-f", file, "--json"]).await.stdout).unwrap();
    assert_eq!(json["deployments"][0]["action"], "PLANNED_ACTION_CREATE");

    let up = davit(&manager, &["up", "-d", "-f", file, "-p", "shop"]).await;
    assert_eq!((code(&up), stdout(&up).as_str()), (Some(0), "shop_db\nshop_web\n"), "{}", stderr(&up));
    assert!(!stderr(&up).contains("nothing to change"), "{}", stderr(&up));
    let again = davit(&manager, &["up", "-d", "-f", file, "-p", "shop"]).await;
    assert!(stderr(&again).contains("shop: nothing to change\n"), "{}", stderr(&again));
    let planned = davit(&manager, &plan).await;
    let told = "shop: nothing to change; 2 deployments unchanged\n";
    assert_eq!((code(&planned), stdout(&planned).as_str()), (Some(0), told), "{}", stderr(&planned));
    let apps = stdout(&davit(&manager, &["apps"]).await);
    assert!(apps.contains("shop") && apps.contains("0/3") && apps.contains("IN_PROGRESS"), "{apps}");
    let listed = stdout(&davit(&manager, &["deployment", "ls"]).await);
    assert!(listed.contains("waits for shop_db to be started"), "{listed}");

    let down = davit(&manager, &["down", "-p", "shop"]).await;
    assert_eq!((code(&down), stdout(&down).as_str()), (Some(0), "shop_db\nshop_web\n"), "{}", stderr(&down));
    assert_eq!(stdout(&davit(&manager, &["apps", "-o", "json"]).await), "[]\n");
    let again = davit(&manager, &["down", "-p", "shop"]).await;
    assert_eq!((code(&again), stderr(&again).as_str()), (Some(0), "there is no app `shop`: nothing to delete\n"));
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn files_that_are_wrong_change_nothing_and_say_where_they_are() {
    let (cluster, manager) = start("app-wrong").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(
        &file,
        "services: {web: {image: web, secrets: [a], x-davit: {priority: 9999}}}\nsecrets: {a: {external: true}}\n",
    )
    .unwrap();
    for command in ["plan", "up"] {
        let output = davit(&manager, &[command, "-f", file.to_str().unwrap(), "-p", "shop"]).await;
        assert_eq!(code(&output), Some(1), "{}", stderr(&output));
        let told = stderr(&output);
        assert!(told.contains("compose.yaml:1:") && told.contains("services.web."), "{told}");
    }
    assert_eq!(stdout(&davit(&manager, &["apps", "-o", "json"]).await), "[]\n");
    let none = davit(&manager, &["plan", "-f", "/nowhere/compose.yaml"]).await;
    assert_eq!(code(&none), Some(1), "{}", stderr(&none));
    cluster.stop().await.unwrap();
}
