# shellcheck shell=bash disable=SC2154
# bitcoinj, the Java client. Sourced by scripts/get.

# What was built on another machine may be here without the java that starts it.
get_bitcoinj() {
    command -v java >/dev/null || apt_need default-jdk-headless
    install_once bitcoinj "$(fingerprint "$clients"/bitcoinj/{BitcoinjSync.java,pom.xml})" build_bitcoinj
}

build_bitcoinj() {
    command -v javac >/dev/null || apt_need default-jdk-headless
    command -v mvn >/dev/null || apt_need maven
    quietly bitcoinj mvn --batch-mode --file "$clients/bitcoinj/pom.xml" \
        dependency:copy-dependencies "-DoutputDirectory=$real/bitcoinj"
    quietly bitcoinj javac -cp "$real/bitcoinj/*" -d "$real/bitcoinj" "$clients/bitcoinj/BitcoinjSync.java"
    wrapper bitcoinj-sync java -XX:-UsePerfData -cp "@/bitcoinj:@/bitcoinj/*" BitcoinjSync
}
