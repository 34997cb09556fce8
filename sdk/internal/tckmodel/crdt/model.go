// Package crdt holds the replicated entities of Cloudstate's conformance tests, built with this SDK.
package crdt

//go:generate sh -c "cd ../../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path sdk/internal/tckmodel/crdt"
