# What the host may ask of the agent in a guest of Kata Containers: to run one container of one image, and little else.
# The agent asks for each request by its name; `keep` follows below, made for one deployment. It is part
# of the init-data, so that evidence of the guest says that it holds.

package agent_policy

import future.keywords.every
import future.keywords.if
import future.keywords.in

default AddARPNeighborsRequest := true
default CloseStdinRequest := true
default DestroySandboxRequest := true
default GetMetricsRequest := true
default GetOOMEventRequest := true
default GuestDetailsRequest := true
default ListInterfacesRequest := true
default ListRoutesRequest := true
default MemHotplugByProbeRequest := true
default OnlineCPUMemRequest := true
default PullImageRequest := true
default ReadStreamRequest := true
default RemoveContainerRequest := true
default RemoveStaleVirtiofsShareMountsRequest := true
default SignalProcessRequest := true
default StartContainerRequest := true
default StatsContainerRequest := true
default UpdateInterfaceRequest := true
default UpdateRoutesRequest := true
default WaitProcessRequest := true

default AddSwapRequest := false
default CopyFileRequest := false
default CreateContainerRequest := false
default CreateSandboxRequest := false
default ExecProcessRequest := false
default PauseContainerRequest := false
default ReseedRandomDevRequest := false
default ResumeContainerRequest := false
default SetGuestDateTimeRequest := false
default SetPolicyRequest := false
default StartTracingRequest := false
default StopTracingRequest := false
default TtyWinResizeRequest := false
default UpdateContainerRequest := false
default UpdateEphemeralMountsRequest := false
default WriteStreamRequest := false

CreateSandboxRequest if {
	input.guest_hook_path == ""
	count(input.kernel_modules) == 0
}

# Files of the pod: its ConfigMap, and how names are resolved. None of them is a place that programs are run from.
CopyFileRequest if {
	startswith(input.path, "/run/kata-containers/shared/containers/")
	not contains(input.path, "..")
}

# The probes of the pod.
ExecProcessRequest if input.process.Args == keep.probe

# What holds the pod's namespaces comes with the guest.
CreateContainerRequest if {
	input.OCI.Process.Args == ["/pause"]
	runs("pause")
}

# The program looks for modules where it stands, so that this is settled too.
CreateContainerRequest if {
	input.OCI.Process.Args == keep.args
	input.OCI.Process.Cwd == "/"
	runs(keep.image)
	every variable in input.OCI.Process.Env {
		of_the_image_or_the_cluster(variable)
	}
}

# The guest itself pulls the image, by its digest: what the host has for it is none.
runs(image) if {
	pulled := [storage | some storage in input.storages; storage.driver == "image_guest_pull"]
	count(pulled) == 1
	pulled[0].source == image
	pulled[0].mount_point == input.OCI.Root.Path
	startswith(input.OCI.Root.Path, "/run/kata-containers/")
	not startswith(input.OCI.Root.Path, "/run/kata-containers/shared/")
	not contains(input.OCI.Root.Path, "..")
	every storage in input.storages {
		harmless(storage)
	}
	every mount in input.OCI.Mounts {
		expected(mount)
	}
	not input.OCI.Hooks
	count(input.devices) == 0
}

harmless(storage) if storage.driver == "image_guest_pull"

harmless(storage) if {
	storage.driver == "ephemeral"
	storage.fstype == "tmpfs"
	startswith(storage.mount_point, "/run/kata-containers/sandbox/")
	not contains(storage.mount_point, "..")
}

harmless(storage) if {
	storage.driver == "watchable-bind"
	startswith(storage.mount_point, "/run/kata-containers/shared/containers/")
	not contains(storage.mount_point, "..")
}

of_the_image_or_the_cluster(variable) if variable in keep.env

of_the_image_or_the_cluster(variable) if regex.match("^(HOSTNAME|KUBERNETES_[A-Z0-9_]+)=", variable)

expected(mount) if mount.destination in keep.kernel

# What the Keep writes to, and may run again, is memory of the guest.
expected(mount) if {
	mount.destination in keep.memory
	startswith(mount.source, "/run/kata-containers/sandbox/ephemeral/")
	not contains(mount.source, "..")
}

# Its source is the guest's own, whatever the host has there.
expected(mount) if {
	mount.destination == keep.configfs
	mount.source == keep.configfs
}

expected(mount) if mount.destination in keep.files
