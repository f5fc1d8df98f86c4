// What scripts within Gitea's pages ask of this file.
window.localUserSettings = {getBoolean: () => false, getString: () => '', setBoolean() {}, setString() {}};
