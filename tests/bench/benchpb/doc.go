// Package benchpb is the protobuf services of the benchmark.
package benchpb

//go:generate sh -c "cd ../../.. && go tool -modfile=.ci/tools/go.mod buf generate . --config .ci/buf.yaml --template .ci/buf.gen.yaml --path tests/bench/benchpb/bench.proto"
