//! Functions that this driver knows and does not have: each returns 801, `CUDA_ERROR_NOT_SUPPORTED`, which tells more than a
//! symbol that is missing. They take no arguments here; a caller by C's conventions passes some, which are not looked at.

use crate::abi::driver_api;
use crate::code::{Code, Result};
use crate::state::Driver;

/// Says once for each name what is not supported.
fn refuse(driver: &mut Driver, name: &'static str) -> Result {
    if !driver.refused.contains(&name) {
        driver.refused.push(name);
        driver.say(&format!("cuda-standin: {name} is not supported (801)"));
    }
    Err(Code::NOT_SUPPORTED)
}

macro_rules! unsupported {
    ($($name:ident)*) => {
        driver_api! { SYMBOLS;
            $(
                /// Not supported: 801.
                fn $name(driver) {
                    refuse(driver, stringify!($name))
                }
            )*
        }
    };
}

unsupported! {
    // Arrays, textures, surfaces, and copies in three dimensions.
    cuArrayCreate_v2 cuArray3DCreate_v2 cuArrayDestroy cuMemcpy3D_v2 cuMemcpy3DAsync_v2 cuMemcpyHtoA_v2 cuMemcpyAtoH_v2
    cuTexObjectCreate cuTexObjectDestroy cuSurfObjectCreate cuSurfObjectDestroy
    // Managed memory, memory of other processes and libraries, virtual memory.
    cuMemAdvise_v2 cuMemPrefetchAsync_v2 cuMemRangeGetAttribute
    cuImportExternalMemory cuExternalMemoryGetMappedBuffer cuDestroyExternalMemory
    cuIpcGetMemHandle cuIpcOpenMemHandle_v2 cuIpcCloseMemHandle cuIpcGetEventHandle cuIpcOpenEventHandle
    cuMemAddressReserve cuMemAddressFree cuMemCreate cuMemMap cuMemUnmap cuMemRelease cuMemSetAccess
    cuMemGetAllocationGranularity cuMemPoolSetAccess cuMemPoolExportToShareableHandle
    // Streams and graphs.
    cuStreamAddCallback cuStreamWaitValue32_v2 cuStreamWriteValue32_v2 cuStreamWaitValue64_v2 cuStreamWriteValue64_v2
    cuStreamBatchMemOp_v2 cuStreamBeginCaptureToGraph cuStreamUpdateCaptureDependencies_v2 cuStreamSetAttribute
    cuStreamGetAttribute cuGraphAddMemcpyNode cuGraphAddMemsetNode cuGraphAddChildGraphNode cuGraphAddEventRecordNode
    cuGraphAddEventWaitNode cuGraphAddMemAllocNode cuGraphAddMemFreeNode cuGraphAddNode_v2 cuGraphDestroyNode
    cuGraphInstantiateWithParams cuGraphExecUpdate_v2 cuGraphExecKernelNodeSetParams_v2 cuGraphKernelNodeSetParams_v2
    cuGraphKernelNodeGetParams_v2 cuGraphDebugDotPrint cuGraphConditionalHandleCreate
    // Linking, parts of a device, multicast.
    cuLinkCreate_v2 cuLinkAddData_v2 cuLinkAddFile_v2 cuLinkComplete cuLinkDestroy
    cuGreenCtxCreate cuDeviceGetDevResource cuCtxGetDevResource cuMulticastCreate
}
